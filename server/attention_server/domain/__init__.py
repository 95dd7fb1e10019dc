"""What a request for attention means, without transport and without a runtime."""
