"""Which files are trusted on a fresh system, the messages there, and what the packages contain."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

FRESH = (
    Mutant(
        "a file that a shared group may write to cannot be included",
        "fastpty/configuration/language/files.py",
        " and not _is_private_group(status.st_gid, status.st_uid)",
        " and False",
        "configuration/test_trusted_files.py::test_a_file_that_a_shared_group_can_write_to_cannot_be_included",
    ),
    Mutant(
        "a file that a user's private group may write to can be included",
        "fastpty/configuration/language/files.py",
        " and not _is_private_group(status.st_gid, status.st_uid)",
        "",
        "configuration/test_trusted_files.py::test_a_file_that_a_private_group_can_write_to_can_be_included",
    ),
    Mutant(
        "a group with another member is not private",
        "fastpty/configuration/language/files.py",
        " or set(group.gr_mem) - {user.pw_name}",
        "",
        "configuration/test_trusted_files.py::test_a_user_s_group_with_another_member_is_not_private[how0]",
    ),
    Mutant(
        "a group that is another user's primary group is not private",
        "fastpty/configuration/language/files.py",
        "    return [account.pw_uid for account in pwd.getpwall() if account.pw_gid == gid] == [uid]",
        "    return True",
        "configuration/test_trusted_files.py::test_a_user_s_group_with_another_member_is_not_private[how1]",
    ),
    Mutant(
        "root's group is not private",
        "fastpty/configuration/language/files.py",
        "if uid == 0 or group",
        "if group",
        "configuration/test_trusted_files.py::test_a_file_that_others_can_write_to_cannot_be_included",
    ),
    Mutant(
        "in a chroot the message names the chroot",
        "fastpty/jail/namespaces.py",
        "error.errno == errno.EPERM and with_user",
        "False",
        "jail/test_unshare_refused.py::test_in_a_chroot_the_message_says_that_user_namespaces_are_never_permitted_there",
    ),
    Mutant(
        "at the limit of namespaces the message names the limit",
        "fastpty/jail/namespaces.py",
        "error.errno == errno.ENOSPC",
        "False",
        "jail/test_unshare_refused.py::test_at_the_limit_of_namespaces_the_message_names_the_limit",
    ),
    Mutant(
        "a reload works where the account cannot enter the start directory",
        "fastpty/configuration/reload_child.py",
        "contextlib.nullcontext() if os.getcwd() == start else ",
        "",
        "configuration/test_start_directory.py::test_a_reload_works_where_the_account_cannot_enter_the_start_directory",
    ),
    Mutant(
        "the source distribution is the whole checkout",
        "MANIFEST.in",
        "graft tests\n",
        "",
        "project/test_package.py::test_the_source_distribution_is_the_whole_checkout",
    ),
    Mutant(
        "the modules of a wheel are stripped",
        "setup.py",
        '            ext.extra_link_args.append("-s")\n',
        "            pass\n",
        "project/test_package.py::test_the_wheel_is_small_and_its_metadata_leads_somewhere",
    ),
    Mutant(
        "the wheel's README has no relative link",
        "setup.py",
        "long_description=readme(),",
        'long_description=(ROOT / "README.md").read_text(),',
        "project/test_package.py::test_the_wheel_is_small_and_its_metadata_leads_somewhere",
    ),
    Mutant(
        "a build without a compiler says what to install",
        "tools/preflight.sh",
        ' || missing="$missing gcc libc6-dev"',
        "",
        "project/test_package.py::test_a_build_without_a_compiler_says_what_to_install",
    ),
    Mutant(
        "a build without Python's headers says what to install",
        "tools/preflight.sh",
        '"Python.h")))\' || missing="$missing python3-dev"',
        '"Python.h")))\'',
        "project/test_package.py::test_a_build_without_python_s_headers_says_what_to_install",
    ),
)
