"""Networks of MMSegmentation.

Source: https://github.com/open-mmlab/mmsegmentation, version 1.2.2. The names of the
arrays are the same since its version 0.5. Images are normalized by the statistics of
ImageNet. `config` has what arrays do not show:

- "output_stride" of the encoder, 8 unless given, or 16; that of UPerNet is always 32.
  Networks named "d32" dilate after they stride, which no option of ours does.
- "multi_grid": the dilations of the last block of a ResNet, such as [1, 2, 4].
- "align_corners": whether maps are resized with aligned corners.
"""

from kerasseg.weights import families
from kerasseg.weights.families import (
    mmseg_bisenet_v2,
    mmseg_hrnet,
    mmseg_resnet,
    mmseg_segformer,
)

_PARTS = (mmseg_resnet, mmseg_hrnet, mmseg_bisenet_v2, mmseg_segformer)


@families.register()
def mmsegmentation(shapes, config):
    """Recognizes the networks on a ResNet or an HRNet, BiSeNetV2 and SegFormer.

    On a ResNet: FCN, PSPNet, UPerNet, DeepLab v3 and v3+; on an HRNet: FCN and OCRNet.
    """
    if "decode_head.conv_seg.weight" not in shapes and (
        "decode_head.1.conv_seg.weight" not in shapes
    ):
        return None
    for part in _PARTS:
        network = part.recognize(shapes, config)
        if network is not None:
            return network
    return None
