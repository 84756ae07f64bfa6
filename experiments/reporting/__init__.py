"""What report.md and results/README.md are made of."""
