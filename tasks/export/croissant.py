"""croissant.json: the dataset described for machines, in Croissant 1.0 (https://docs.mlcommons.org/croissant/)."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from tasks.export import licences
from tasks.export.card import title
from tasks.export.layout import Exported
from tasks.export.table import NAME, SCHEMA

NODE = dict[str, Any]

CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
PICTURES = {  # part -> its format, and what it shows
    "input.webp": ("image/webp", "A photo with something wrong in it."),
    "reference.jpg": ("image/jpeg", "Another photo of the same product, which shows how it should be."),
    "target.webp": ("image/webp", "The ground truth: the photo as it was."),
    "mask.png": ("image/png", "Where input and target differ."),
}
TYPES = {pa.string(): "sc:Text", pa.int32(): "cr:Int32", pa.int64(): "cr:Int64", pa.float32(): "cr:Float32"}


def croissant(exported: Exported, table: NODE) -> NODE:
    """Return the metadata of an exported version; `table` is what its manifest says of samples.parquet."""
    manifest = exported.manifest
    names = sorted({name for each in exported.licences for name in each})
    tars = [_file(s.name, "application/x-tar", s.bytes, s.sha256) for s in exported.shards]
    inside = [{"@id": shard.name} for shard in exported.shards]
    sets = [
        {"@type": "cr:FileSet", "@id": part, "name": part, "description": said, "containedIn": inside,
         "encodingFormat": format, "includes": f"*.{part}"}
        for part, (format, said) in PICTURES.items()
    ]  # fmt: skip
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": title(exported),
        "description": f"{exported.samples} quadruplets (input, reference, ground truth, instruction) for training a "
        "reference-guided image refiner, as WebDataset shards.",
        "citeAs": f"{title(exported)}, content {manifest['content']}",
        "license": [licences.url(name) or name for name in names],
        "keywords": ["image editing", "reference-guided", "webdataset"],
        "version": f"{manifest['sequence']}.0.0",
        "datePublished": manifest["published_at"],
        "isLiveDataset": False,
        "distribution": [*tars, _file(NAME, "application/x-parquet", table["bytes"], table["sha256"]), *sets],
        "recordSet": [_samples(), *(_pictures(part, said) for part, (_, said) in PICTURES.items())],
    }


def _file(name: str, format: str, size: int, digest: str) -> NODE:
    return {"@type": "cr:FileObject", "@id": name, "name": name, "contentUrl": name, "contentSize": f"{size} B",
            "encodingFormat": format, "sha256": digest}  # fmt: skip


def _samples() -> NODE:
    """Return the record set of samples.parquet: what is known of each sample, and where its parts lie."""
    return {
        "@type": "cr:RecordSet", "@id": "samples", "name": "samples", "key": {"@id": "samples/key"},
        "description": "One record a sample: what to choose samples by, and where each part lies.",
        "field": [
            {"@type": "cr:Field", "@id": f"samples/{column.name}", "name": f"samples/{column.name}",
             "dataType": TYPES[column.type],
             "source": {"fileObject": {"@id": NAME}, "extract": {"column": column.name}}}
            for column in SCHEMA
        ],
    }  # fmt: skip


def _pictures(part: str, said: str) -> NODE:
    """Return the record set of one part of all samples, by key."""
    name, _, _ = part.partition(".")
    key = {"fileSet": {"@id": part}, "extract": {"fileProperty": "filename"}, "transform": {"regex": "^([^.]+)"}}
    return {
        "@type": "cr:RecordSet", "@id": name, "name": name, "description": said, "key": {"@id": f"{name}/key"},
        "field": [
            {"@type": "cr:Field", "@id": f"{name}/key", "name": f"{name}/key", "dataType": "sc:Text",
             "references": {"field": {"@id": "samples/key"}}, "source": key},
            {"@type": "cr:Field", "@id": f"{name}/image", "name": f"{name}/image", "dataType": "sc:ImageObject",
             "source": {"fileSet": {"@id": part}, "extract": {"fileProperty": "content"}}},
        ],
    }  # fmt: skip
