"""What a document says of rights, as whoever writes keys is judged by it."""

from dujiang.config.settings import Document
from dujiang.core.names import compile_names
from dujiang.identity.grants import Policy
from dujiang.identity.roles import compile_roles


def policy_of(document: Document) -> Policy:
    scene_roles = {name: compile_names(scene.roles) for name, scene in document.scenes.items()}
    return Policy(
        table=compile_roles(document.roles, document.apps),
        roles=document.roles,
        apps=document.apps,
        default=document.limits.default,
        scene_roles={name: roles for name, roles in scene_roles.items() if not roles.is_all},
    )
