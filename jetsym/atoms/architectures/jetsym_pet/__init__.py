"""PET with injected bias: an architecture of metatrain, ``experimental.jetsym_pet``."""

from .model import InjectedPET
from .trainer import Trainer

__model__ = InjectedPET
__trainer__ = Trainer
__capabilities__ = {
    "supported_devices": __model__.__supported_devices__,
    "supported_dtypes": __model__.__supported_dtypes__,
}
__authors__ = [("The jetsym developers", "jetsym")]
__maintainers__ = __authors__
