"""Outputs of a network: the logits, beside which there may be auxiliary outputs."""

from keras import ops

from kerasseg.images import class_rules


def logits(outputs):
    """Returns the logits among the outputs of a network.

    Args:
        outputs: A tensor, or a dict with the key "logits", such as `{"logits": ...,
            "aux_scores": ...}`.
    """
    return outputs["logits"] if isinstance(outputs, dict) else outputs


def class_logits(outputs):
    """Returns one logit for each class, also of a network with a single logit.

    Args:
        outputs: See `logits`.
    """
    return class_rules.class_logits(logits(outputs), ops)
