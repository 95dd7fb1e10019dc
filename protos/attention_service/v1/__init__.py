"""Generated code of attention_service/v1/attention.proto: messages and gRPC stubs."""
