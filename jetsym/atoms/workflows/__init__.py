"""Uses of a potential, symmetrised at inference or not: relaxation, phonons, dynamics, errors on a file."""
