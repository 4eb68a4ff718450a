"""Training of potentials by metatrain."""
