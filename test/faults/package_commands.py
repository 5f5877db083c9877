"""Commands that change packages, by the real apt and dpkg: package_stories.py has what they must end as."""
import json

from mini_debian import TEMPLATE
from package_stories import CONTAINERS, ends_of, environment, left_over, state, stories, told_as_wanted, which
from root_photo import differences
from stores import Fault, check_error

# What dpkg and apt leave or leave out when a call of their own fails that they take for unimportant: files of an older version, too.
UNIMPORTANT = ('/usr/share/tool/only-', '/var/lib/dpkg/tmp.ci', '/var/log/apt/history.log', '/var/log/apt/term.log')


class PackageCommand:
    """One that changes neither of the containers."""

    states = {}  # of the containers before
    partly, tells = False, None  # as a Command of full_volumes.py

    def __init__(self, store, arguments, variables):
        self.store, self.arguments, self.environment, self.before, self.again = store, arguments, variables, [], []

    def learn(self):
        """How it ends when nothing fails."""
        self.store.ok(*self.arguments)

    def done(self):
        return True

    def judge(self, status, err, codes=None, was_cut=False):
        """It failed as it should and all is as before, or it was done; and can be done now. @raises Fault

        `was_cut`: the store was taken away in the middle, perhaps just when it was done and before it could say so
        """
        if status:
            check_error(status, err, codes)
        self.store.verify()
        self.finish()

    def finish(self):
        self.store.ok(*self.arguments)
        self.check_others(CONTAINERS)

    def check_others(self, names):
        self.store.verify()
        for name in names:
            lines = differences(state(self.store.ok, name)[0], [self.states[name][0]])
            if lines:
                raise Fault(f'{name} has changed: {lines[:5]}')
        left = left_over(self.store.path)
        if left:
            raise Fault(f'{left} is left over')


class TemplateCommand(PackageCommand):
    """Makes the template `new`; or there is none."""

    def __init__(self, store, arguments, variables):
        super().__init__(store, arguments, variables)
        self.again = ['TEMPLATE_EXISTS']

    def done(self):
        return 'new' in self.store.names('template', 'list')

    def judge(self, status, err, codes=None, was_cut=False):
        if self.done() != (status == 0) and not (was_cut and status):
            raise Fault(f'it ended with status {status}, and the template is {"there" if self.done() else "not there"}: {err.strip()}')
        super().judge(status, err, codes, was_cut)

    def finish(self):
        self.store.ok(*self.arguments, allowed=self.again)
        if not self.done():
            raise Fault('run again it is not done')
        if self.store.names('list') != sorted(CONTAINERS):
            raise Fault(f'containers are left: {self.store.names("list")}')
        self.check_others(CONTAINERS)


class ChangeCommand(PackageCommand):
    """Changes one of the containers."""

    learnt = {}  # name → states after it, undisturbed

    def __init__(self, store, name, story, distribution):
        super().__init__(store, story.arguments, story.environment(distribution))
        self.name, self.story, self.again = name, story, story.allowed
        self.before = [('mount', story.container)] if story.mounted else []

    def learn(self):
        told = self.store.ok(*self.arguments)
        if not told_as_wanted(self.name, told):
            raise Fault(f'{self.name} was done in another way: {json.dumps(told)}')
        self.learnt.setdefault(self.name, []).append(state(self.store.ok, self.story.container))

    def found(self):
        """'before' or 'after'. @raises Fault"""
        found = state(self.store.ok, self.story.container)
        afters = [self.learnt[name] for name in ends_of(self.name)]
        name, wrong = which(found, self.states.get(self.story.container), afters, self.story.mounted, UNIMPORTANT)
        if wrong:
            raise Fault(wrong)
        return name

    def done(self):
        return self.found() == 'after'

    def judge(self, status, err, codes=None, was_cut=False):
        if status:
            check_error(status, err, codes)
        self.store.verify()
        found = self.found()
        # Once the files are exchanged a rollback is done by the next command, whatever fails.
        if (found == 'after') != (status == 0) and not (status and (was_cut or self.name.startswith('rollback'))):
            raise Fault(f'it ended with status {status}, and is as {found}')
        if found != 'after' or not self.name.startswith('rollback'):
            self.store.ok(*self.arguments, allowed=self.again if found == 'after' else ())
        if self.found() != 'after':
            raise Fault('run again it is as before')
        self.check_others(self.story.others)


def package_commands(store, distribution):
    old = environment(distribution, 'old')
    return {
        **{name: ChangeCommand(store, name, story, distribution) for name, story in stories(distribution).items()},
        'fetch': PackageCommand(store, ['fetch', TEMPLATE, 'tool'], environment(distribution, 'new')),
        'clean': PackageCommand(store, ['clean'], old),
        'template-with-app': TemplateCommand(store, ['template', 'create', TEMPLATE, '--apptemplate', 'toold', '--as', 'new'], old),
    }
