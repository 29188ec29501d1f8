"""Configurations of convolution and pooling drawn by hypothesis (`strategies`), and what each must agree with."""
