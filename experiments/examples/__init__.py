"""LSTMs that other libraries trained, as spiking networks, in a few lines."""
