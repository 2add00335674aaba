"""What the columns of a row are. Templates: `{name}` is a property, `{id}` the resource's id; `{name|tail}` its last segment,
`{name|quoted}` its URL form, `{name|bool}` true or false.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Iam:
    """Where a policy is read and written, and how.

    `wrapped`: the body is `{"policy": …}`. `update_mask`: sent with it. `etag_when_empty`: the etag goes along even if no
    binding is left. `batched`: members of the same moment share one call. `described`: the resource in error texts.
    """

    get: str
    set: str
    get_method: str = "GET"
    set_method: str = "POST"
    get_body: Mapping[str, object] | None = None
    wrapped: bool = True
    update_mask: str = ""
    etag_when_empty: bool = True
    batched: bool = False
    described: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One resource type.

    Paths and methods are of the calls; `lro`: create, update and delete answer with an operation (`update_lro` False: not
    the update). `mask`: updates name what changes; `changed_only`: they send nothing else. `labels`, `annotations`: managed
    with defaults and Pulumi's mark. `protection`: what the message of a protected delete calls it; `protection_is_sent`: a
    change of the protection alone is an update call. `autoname`, `autoname_limit`: the property named after the resource.
    `place`: the property that defaults to the provider's region. `create_body`: what a create has beside the inputs.
    `computed`, `planned`: outputs that follow from others, after a read and before it. `exactly_one`: of these
    properties one is given. `server_id`: the id is the `name` in the answer. `behaviour`: the variant of `crud.Behaviour`.
    """

    table: str
    service: str
    kind: str
    id: str
    create: str = ""
    read: str = "{id}"
    update: str = "{id}"
    delete: str = "{id}"
    update_method: str = "PATCH"
    lro: bool = False
    update_lro: bool = True
    mask: bool = False
    changed_only: bool = False
    labels: bool = False
    annotations: bool = False
    protection: str = ""
    protection_is_sent: bool = False
    autoname: str = ""
    autoname_limit: int = 0
    place: str = ""
    create_body: Mapping[str, str] = field(default_factory=dict)
    computed: Mapping[str, str] = field(default_factory=dict)
    planned: Mapping[str, str] = field(default_factory=dict)
    exactly_one: tuple[str, ...] = ()
    server_id: bool = False
    create_prefix: bool = True
    behaviour: str = "rest"
    iam: Iam | None = None
