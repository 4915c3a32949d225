"""Sources, download, digests and the cache."""

from bddzoo.artifacts.cache import Cache
from bddzoo.artifacts.digests import Hashes, hash_file
from bddzoo.artifacts.entry import Entry
from bddzoo.artifacts.fetched import FetchResult
from bddzoo.artifacts.fetcher import Fetcher
from bddzoo.artifacts.manners import Manners
from bddzoo.artifacts.verify import verify_file

__all__ = ["Cache", "Entry", "FetchResult", "Fetcher", "Hashes", "Manners", "hash_file", "verify_file"]
