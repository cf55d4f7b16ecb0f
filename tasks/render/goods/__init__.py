"""What each type of product is made of."""

from functools import lru_cache

from schemas.ids import stream
from tasks.render.goods import box, can, mug, plush, poster, shirt
from tasks.render.model import Model
from tasks.render.products import Product

MAKERS = {
    "box": box.model,
    "can": can.model,
    "shirt": shirt.model,
    "mug": mug.model,
    "plush": plush.model,
    "poster": poster.model,
}


@lru_cache(maxsize=8)
def build(item: Product, scale: float) -> Model:
    """Return the product's model with pictures of `scale` pixels a unit; kept, so that its views share it."""
    return MAKERS[item.type](item, scale, stream(item.seed, "build", item.look))
