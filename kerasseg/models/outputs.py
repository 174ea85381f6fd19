"""Outputs of a network: the logits, beside which there may be auxiliary outputs."""


def logits(outputs):
    """Returns the logits among the outputs of a network.

    Args:
        outputs: A tensor, or a dict with the key "logits", such as `{"logits": ...,
            "aux_scores": ...}`.
    """
    return outputs["logits"] if isinstance(outputs, dict) else outputs
