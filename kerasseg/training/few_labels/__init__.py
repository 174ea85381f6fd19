"""Training on few labels: methods that also learn from images without labels.

A method adds terms to the loss of the labeled images. It is a class in a module of this
package, a subclass of `method.Method` that registers itself under its name.
"""

from kerasseg.system import registry
from kerasseg.training.few_labels.options import (
    NO_METHOD,
    FewLabels,
    check_activation,
)

__all__ = ["METHODS", "NO_METHOD", "FewLabels", "check_activation"]

METHODS: registry.Registry[type] = registry.Registry("method", __name__)
register = METHODS.register
