"""The contract of attention-service, and what its client, server and exporter share."""
