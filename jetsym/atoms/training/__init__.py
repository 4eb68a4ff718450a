"""Training of potentials by metatrain, fine-tuning, and their symmetry over training."""
