"""How W_Q, W_K and W_V are learned: two attention layers from random matrices to a server."""
