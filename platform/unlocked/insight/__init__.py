"""Looking into a trained classifier: filters, attributions, adversarial examples. `unlocked inspect RUN`.

Everything here takes the gradient of the plain net, by autograd, whatever scheme trained it. A scheme's own feedback
would make a weak attack, and a net would look robust that is not.
"""

from unlocked.insight.attack import ATTACKS, fgsm, pgd
from unlocked.insight.attribution import integrated_gradients, saliency
from unlocked.insight.report import Request, inspect
from unlocked.insight.subject import Subject, open_run
from unlocked.schemes.adversary import Limits

__all__ = [
    "ATTACKS",
    "Limits",
    "Request",
    "Subject",
    "fgsm",
    "inspect",
    "integrated_gradients",
    "open_run",
    "pgd",
    "saliency",
]
