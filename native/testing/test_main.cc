// The runner of the native unit tests. Tests that change ownership or make devices need root and say so themselves.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
