"""Who an actor is: ids, groups, umask, capabilities. All are processes of root's that put on these for each operation."""
import os

from syscalls import permitted_capabilities, set_effective

CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID = (1 << i for i in range(5))


class Role:
    def __init__(self, uid, gid, groups, umask, add=0, drop=0):
        self.uid, self.gid, self.groups, self.umask, self.add, self.drop = uid, gid, groups, umask, add, drop


ROLES = [
    Role(0, 0, [], 0o022),
    Role(1000, 1000, [1001], 0o077),
    Role(1001, 1001, [], 0),
    Role(0, 0, [1001], 0o002, drop=CHOWN | DAC_OVERRIDE | DAC_READ_SEARCH | FOWNER | FSETID),
    Role(1000, 1001, [1000], 0o022, add=DAC_OVERRIDE | FOWNER),
]
# What only some kernels or containers give is left away for all, so that results do not depend on it.
KEPT = 0x1FFFFFFFFFF


class Identity:
    """Puts on a role and takes it off again."""

    def __init__(self, role):
        self.role = ROLES[role]
        self.permitted = permitted_capabilities() & KEPT

    def put_on(self):
        role = self.role
        os.umask(role.umask)
        if role.groups:
            os.setgroups(role.groups)
        if role.uid == 0:
            if role.drop:
                set_effective(self.permitted & ~role.drop, self.permitted)
            return
        os.setresgid(role.gid, role.gid, 0)
        # The saved id keeps the permitted capabilities; the effective ones go.
        os.setresuid(role.uid, role.uid, 0)
        if role.add:
            set_effective(self.permitted & role.add, self.permitted)

    def take_off(self):
        role = self.role
        if role.uid:
            os.setresuid(0, 0, 0)
            os.setresgid(0, 0, 0)
        elif role.drop:
            set_effective(self.permitted, self.permitted)
        if role.groups:
            os.setgroups([])
