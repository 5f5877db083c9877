#include "mount/engine_file.h"

#include <doctest/doctest.h>

using namespace templatefs;

namespace {

const std::string kText =
    "holder 70\nworker 71\nmountpoint /a%20place\nversion 0.1.0\nstate 2\nboot b-1\npassthrough yes\n"
    "uid-map 0 100000 5\ngid-map 0 200000 5\nconnection 43\n";

}  // namespace

TEST_CASE("an engine file is read") {
    auto engine = parse_engine_file(kText);
    REQUIRE(engine.ok());
    CHECK(engine.value().holder == 70);
    CHECK(engine.value().worker == 71);
    CHECK(engine.value().mountpoint == "/a place");
    CHECK(engine.value().boot == "b-1");
    CHECK(engine.value().connection == 43);
    CHECK(id_map_text(engine.value().ids.gids) == "0 200000 5\n");
}

TEST_CASE("an engine file that says nothing useful is refused") {
    for (const char* text : {"", "holder 70\n", "holder 70\nmountpoint /x\n", "holder 1\nmountpoint /x\nboot b\n", "holder -70\nmountpoint /x\nboot b\n",
                             "holder 70x\nmountpoint /x\nboot b\n", "holder 70\nmountpoint x\nboot b\n", "holder 70\nmountpoint /x%00y\nboot b\n",
                             "holder 70\nmountpoint /x%zz\nboot b\n", "holder 70\nmountpoint /x\nboot b", "nonsense\n",
                             "holder 99999999999\nmountpoint /x\nboot b\n"}) {
        CAPTURE(text);
        CHECK(parse_engine_file(text).error_code() == EUCLEAN);
    }
    for (size_t length = 0; length < kText.find("passthrough"); length++) {
        auto cut = parse_engine_file(kText.substr(0, length));
        if (cut.ok()) CHECK(cut.value().boot == "b-1");
    }
}

TEST_CASE("maps and numbers of an engine file that are no such are left out") {
    auto engine = parse_engine_file("holder 70\nmountpoint /x\nboot b\nconnection many\nuid-map 0 1 1\n");
    REQUIRE(engine.ok());
    CHECK(!engine.value().connection);
    CHECK(engine.value().worker == 0);
    CHECK(engine.value().ids.empty());
}
