"""Single values of `registry.yaml`: names, URLs, numbers, digests and sizes, with their limits."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from msgspec import Meta

Text = Annotated[str, Meta(min_length=1, max_length=2000)]
# Patterns are checked by `bddzoo.registry.resolve`, and only told to editors here: msgspec 0.22 crashes
# when the process ends, or later, where `Meta(pattern=...)` stands in a union (msgspec issue 717).
IDENT = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,119}$"
IDENT_WORDS = "letters, digits and . _ + - only, starting with a letter or digit"
DIGEST = (
    r"^(md5:[0-9a-f]{6,32}|sha256:[0-9a-f]{6,64}|tensors:[0-9a-f]{64})"
    r" (published|filename|observed|computed)( [0-9]{4}-[0-9]{2}-[0-9]{2})?$"
)
DIGEST_WORDS = (
    "ALGORITHM:HEX ORIGIN [DATE], e.g. md5:0123... observed 2025-01-31, "
    "where ORIGIN is published, filename, observed or computed"
)
Ident = Annotated[
    str, Meta(min_length=1, max_length=120, description=IDENT_WORDS, extra_json_schema={"pattern": IDENT})
]
FileName = Annotated[str, Meta(min_length=1, max_length=200, description="a plain file name, no folders")]
Url = Annotated[
    str,
    Meta(
        min_length=8,
        max_length=600,
        description="https://, http:// or package:PATH (a file inside this package)",
    ),
]
Source = Annotated[
    str,
    Meta(
        min_length=8,
        max_length=600,
        description="https://, http://, s3://, gs://, hf:// or package:PATH (a file inside this package)",
    ),
]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Percent = Annotated[int | Decimal | None, Meta(description="percent, with the decimals that were printed")]
Number = int | Decimal
Size = tuple[Positive, Positive]
Triple = tuple[Number, Number, Number]
Split = Literal["train", "val", "test"]
Metric = Literal["mIoU", "AP", "box_AP", "PixelACC"]
DigestText = Annotated[str, Meta(description=DIGEST_WORDS, extra_json_schema={"pattern": DIGEST})]
SIZE = r"^([0-9]{1,15}) (published|observed|computed)( [0-9]{4}-[0-9]{2}-[0-9]{2})?$"
SIZE_WORDS = "BYTES or BYTES ORIGIN [DATE], e.g. 1234 observed 2025-01-31"
SizeText = Annotated[str, Meta(description=SIZE_WORDS, extra_json_schema={"pattern": SIZE})]
