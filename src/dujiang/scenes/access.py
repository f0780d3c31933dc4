"""Whom a scene is for."""

from msgspec import Struct

from dujiang.core.call import Call, Rights
from dujiang.core.errors import Forbidden
from dujiang.core.names import Names, compile_names
from dujiang.scenes.settings import SceneSettings

PROMPT_ID = "parameters.prompt_id"


class Access(Struct, frozen=True):
    """The apps and roles that a scene is for."""

    apps: Names
    roles: Names

    def check(self, scene: str, app: str, rights: Rights) -> None:
        """Raises `Forbidden` for another app, and where the call's roles hold none that the scene is for."""
        if app not in self.apps:
            raise _forbidden(f"The scene `{scene}` is not for this app.")
        for roles in rights.roles:
            if self.roles.exact.isdisjoint(roles) and not any(role in self.roles for role in roles):
                raise _forbidden(f"The scene `{scene}` is not for the roles of this call.")


def compile_access(scene: SceneSettings) -> Access | None:
    """None for a scene that is for everybody."""
    access = Access(compile_names(scene.apps), compile_names(scene.roles))
    return None if access.apps.is_all and access.roles.is_all else access


def check_rights(scene: str, access: Access | None, call: Call) -> None:
    """Both sides have a say: which scenes the roles and the app allow, and whom the scene is for."""
    rights = call.rights
    if rights.scenes and not rights.allows_scene(scene):
        raise _forbidden(f"The roles or the app of this call do not allow the scene `{scene}`.")
    if access is not None:
        access.check(scene, call.caller.app, rights)


def _forbidden(sentence: str) -> Forbidden:
    return Forbidden(sentence, reason="scene", param=PROMPT_ID)
