"""What a potential is used for: relaxation, phonons, dynamics, errors on a file; symmetrised or not."""
