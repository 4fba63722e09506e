"""Two stages: representation first, then the classifier alone, on classes drawn equally often.

Source: Kang et al., *Decoupling Representation and Classifier for Long-Tailed Recognition*, ICLR 2020. The first stage
is any trained run; `initialise.checkpoint` names it.
"""

from __future__ import annotations

from model.experts import ExpertModel
from model.rescaling import PerClassScale
from trainer.methods.supervised import Supervised

__all__ = ["LWS", "cRT"]


class cRT(Supervised):
    """Classifier re-training: new classifiers on a trunk that stays as it is, BatchNorm's statistics included."""

    needs_initialise = True
    reset = ("backbone.linear*",)
    trainable = ("backbone.linear*",)


class LWS(Supervised):
    """Learnable weight scaling: network and classifiers stay, each expert learns one factor for each class's logit.

    The paper scales the classifier's weight vectors. Here the logits are scaled, which is the same for a linear
    classifier without bias; a cosine classifier would forget the length of its weights.
    """

    needs_initialise = True
    reset = ("rescale.*",)
    trainable = ("rescale.*",)

    @classmethod
    def prepare_network(cls, network: ExpertModel) -> None:
        """Add the factors, which begin at 1."""
        network.rescale = PerClassScale(network.num_experts, network.num_classes)
