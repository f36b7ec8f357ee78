"""Convolutional networks."""

from unlocked_models.cnn import alexnet, inception, lenet, plain, resnet, vgg

__all__ = ["alexnet", "inception", "lenet", "plain", "resnet", "vgg"]
