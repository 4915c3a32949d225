"""The networks of openseg.pytorch: FCN, OCNet, ISA and OCR on its ResNet-101, WRN-38 and HRNet-48.

Backbones and heads are mmsegmentation's where its classes hold the zoo's weights, our own otherwise. From
outside a network has the zoo's own state dict; the activated batch norm of those files is turned into
ordinary batch norm when they are loaded.
"""
