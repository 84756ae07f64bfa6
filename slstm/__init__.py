"""slstm: spiking LSTMs converted from ordinary LSTMs."""
