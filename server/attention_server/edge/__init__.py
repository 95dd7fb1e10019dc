"""gRPC: messages become requests, results and errors become messages."""
