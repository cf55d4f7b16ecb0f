"""The scores that a sample can be sorted by, and which end of each is the worse one."""

from typing import Literal

WORSE: dict[str, Literal["low", "high"]] = {  # columns of the view `samples`
    "sharpness": "low",
    "reference_sharpness": "low",
    "exposure": "low",
    "clipped": "high",
    "resolution": "low",
    "reference_resolution": "low",
    "mask_area": "low",
    "compactness": "low",
    "psnr": "high",  # an edit that hardly changed anything teaches nothing; so the next five
    "ssim": "high",
    "likeness": "high",
    "lpips": "low",
    "clip": "high",
    "dino": "high",
    "filled": "low",
    "outside": "high",
    "reference_overlap": "low",
    "shift": "high",
    "drift": "high",
    "residue": "high",
    "text_distance": "low",
    "judged": "low",
    "unsafe": "high",
}
