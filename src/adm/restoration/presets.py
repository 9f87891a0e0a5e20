"""Name -> Preset: the settings of published restorations, with the figures of their authors."""

from dataclasses import dataclass

README = "README of DiffPIR (Zhu et al. 2023), 100 images of 256x256"
HALF_RANGE = 0.1  # sigma 0.05 of images in [0, 1]


@dataclass(frozen=True)
class Preset:
    """The settings of a row of a published table.

    Attributes:
        operator, method: specs.
        steps: levels that are visited.
        psnr, lpips: published for FFHQ and for ImageNet; None where unpublished.
        sigma: of the noise, in units of [-1, 1].
    """

    operator: str
    method: str
    steps: int
    psnr: tuple[float | None, float | None]
    lpips: tuple[float | None, float | None]
    sigma: float = HALF_RANGE

    @property
    def published(self) -> str:
        """The figures as a sentence."""
        rows = zip(("FFHQ", "ImageNet"), self.psnr, self.lpips, strict=True)
        parts = [
            f"{data} PSNR {psnr:.2f} dB, LPIPS {lpips:.3f}" for data, psnr, lpips in rows if psnr
        ]
        return f"published: {'; '.join(parts)} ({README})"


BLUR, MOTION, LARGER = "blur:gaussian=3", "motion:size=61", "downsample:factor=4,filter=bicubic"
# Its code has lambda 1 with sigma in units of [0, 1] and noise in those of [-1, 1].
DIFFPIR, DPS = "diffpir:weight=0.25,fresh=0.1", "dps:step=0.3"
PRESETS = {
    "diffpir-blur": Preset(BLUR, DIFFPIR, 100, (27.36, 22.80), (0.236, 0.355)),
    "diffpir-motion": Preset(MOTION, DIFFPIR, 100, (26.57, None), (0.255, None)),
    "diffpir-downsample": Preset(LARGER, DIFFPIR, 100, (26.64, 23.18), (0.260, 0.371)),
    "dps-blur": Preset(BLUR, DPS, 1000, (25.46, 19.58), (0.247, 0.434)),
    "dps-motion": Preset(MOTION, DPS, 1000, (23.31, None), (0.289, None)),
    "dps-downsample": Preset(LARGER, DPS, 1000, (25.77, 22.16), (0.256, 0.383)),
}
