"""Why a published row cannot be built: codes for machines, a sentence for people."""

from __future__ import annotations

REASONS = {
    "no-backbone-code": "the zoo's repository has no file of this backbone at any commit",
    "fixed-aux-width": "the network's class expects auxiliary features of 1024 channels, which this backbone "
    "does not give",
    "no-network-class": "the zoo's repository has no class for this method on this backbone at any commit",
    "no-such-network": "the zoo has no network of this name on this backbone",
    "input-not-known": "nobody has recorded how the zoo normalises this backbone's input on this data set",
    "norm-not-known": "nobody has measured how this backbone's state is named with this kind of "
    "batch normalisation",
}
