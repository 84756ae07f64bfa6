"""MNIST: handwritten digits, as images and as sequences of pixels."""
