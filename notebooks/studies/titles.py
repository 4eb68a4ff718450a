"""Titles of the columns of the studies of molecules and of the least bias, for their tables and those of the pages."""

__all__ = ["ACCURACY", "COLUMNS", "CRYSTAL", "DRIFT"]

#: Column -> title, of how a potential does on molecules.
ACCURACY = {
    "forces": "forces RMSE, meV/Å",
    "forces rotated": "rotated, meV/Å",
    "A forces": "A of forces, meV/Å",
    "energy": "energy RMSE, meV/atom",
    "A energy": "A of energy, meV/atom",
    "torque": "torque, meV/atom",
}
#: The same of the study of the least bias.
COLUMNS = ACCURACY | {
    "step_s": "s per step",
    "use_s": "use, s per structure",
    "train_s": "training s",
}
#: The same of a crystal.
CRYSTAL = {
    "forces": "forces RMSE, meV/Å",
    "energy": "energy RMSE, meV/atom",
    "A energy": "A of energy, meV/atom",
    "splitting": "worst splitting, THz",
    "forbidden": "forbidden stress, GPa",
    "torque": "torque, meV/atom",
    "epoch_s": "s per epoch",
    "train_s": "training s",
}
#: The same of the drift over dynamics.
DRIFT = {"drift": "drift, meV/atom/ps", "fluctuation": "fluctuation, meV/atom", "turned": "angular momentum, ħ"}
