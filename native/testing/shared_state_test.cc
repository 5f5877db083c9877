#include "inode/shared_state.h"

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "inode/node_table.h"

using namespace templatefs;

namespace {

std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }
std::string text(std::span<const std::byte> data) {
    return std::string(reinterpret_cast<const char*>(data.data()), data.size());
}

// A worker that died is one whose SharedState is still mapped but no longer used; the next attaches to the same memfd.
struct Memory {
    UniqueFd fd = SharedState::create().take();
    SharedState attach() { return SharedState::attach(fd.get()).take(); }
};

}  // namespace

TEST_CASE("what a dead worker left half done is rolled back, what it answered is kept") {
    Memory memory;
    auto first = memory.attach();
    StateHeader& h = first.header();
    first.begin(10);
    first.set(h.next_fh, 5);
    first.set(h.live_nodes, 7u);
    first.commit(bytes("answer ten"));
    CHECK(text(first.answer_of(10)) == "answer ten");

    SUBCASE("in the middle of the next request") {
        first.begin(12);
        first.set(h.next_fh, 6);
        first.set(h.next_fh, 8);
        first.set(h.live_nodes, 1u);
        auto second = memory.attach();
        CHECK(second.header().next_fh == 5);
        CHECK(second.header().live_nodes == 7);
        CHECK(second.header().undo_count == 0);
        // The answer to 10 may not have been sent.
        CHECK(text(second.answer_of(10)) == "answer ten");
        CHECK(second.answer_of(12).empty());
    }
    SUBCASE("after the answer was stored, before the log was cleared") {
        first.begin(12);
        first.set(h.next_fh, 6);
        std::string answer = "answer twelve";
        std::memcpy(h.answer, answer.data(), answer.size());
        h.answer_size = static_cast<uint32_t>(answer.size());
        h.answer_unique = 12;
        auto second = memory.attach();
        CHECK(second.header().next_fh == 6);
        CHECK(second.header().undo_count == 0);
        CHECK(text(second.answer_of(12)) == "answer twelve");
    }
    SUBCASE("while the next answer was being copied") {
        first.begin(12);
        first.set(h.next_fh, 6);
        h.answer_unique = 0;
        std::memcpy(h.answer, "half", 4);
        auto second = memory.attach();
        CHECK(second.header().next_fh == 5);
        CHECK(second.answer_of(10).empty());
        CHECK(second.answer_of(0).empty());
    }
    SUBCASE("an answer that does not fit is not kept, its changes are") {
        first.begin(12);
        first.set(h.next_fh, 6);
        std::string large(kAnswerCapacity + 1, 'x');
        first.commit(bytes(large));
        auto second = memory.attach();
        CHECK(second.header().next_fh == 6);
        CHECK(second.answer_of(12).empty());
        CHECK(second.answer_of(10).empty());
    }
}

TEST_CASE("allocated memory is zeroed, aligned, and given back by a roll back") {
    Memory memory;
    auto state = memory.attach();
    Offset first = state.allocate(10).take();
    CHECK(first % 16 == 0);
    state.commit();
    Offset second = state.allocate(100).take();
    CHECK(second >= first + 10);
    std::memset(state.at<char>(second), 0xff, 100);
    state.roll_back();
    Offset again = state.allocate(100).take();
    CHECK(again == second);
    for (int i = 0; i < 100; ++i) REQUIRE(state.at<char>(again)[i] == 0);
    CHECK(state.allocate(size_t{1} << 40).error_code() == ENOMEM);
}

TEST_CASE("a transaction larger than the log does not overrun it") {
    Memory memory;
    auto state = memory.attach();
    Offset words = state.allocate(sizeof(uint64_t) * kUndoCapacity * 2).take();
    state.commit();
    for (size_t i = 0; i < size_t{kUndoCapacity} * 2; ++i) state.set(state.at<uint64_t>(words)[i], i + 1);
    CHECK(state.header().undo_count <= kUndoCapacity);
    CHECK(state.header().magic == kStateMagic);
    state.roll_back();
    CHECK(state.header().undo_count == 0);
}

TEST_CASE("memory of another version is refused") {
    Memory memory;
    {
        auto state = memory.attach();
        state.header().version = kStateVersion + 1;
    }
    CHECK(SharedState::attach(memory.fd.get()).error_code() == EUCLEAN);
    UniqueFd empty(::memfd_create("empty", MFD_CLOEXEC));
    REQUIRE(::ftruncate(empty.get(), 16LL << 30) == 0);
    CHECK(SharedState::attach(empty.get()).error_code() == EUCLEAN);
}

namespace {

struct ModelNode {
    uint64_t nodeid, ino;
    uint64_t parent;  // nodeid, 0 none
    std::string name;
    uint32_t children = 0;
    bool operator==(const ModelNode&) const = default;
};

std::map<uint64_t, ModelNode> snapshot(NodeTable& table, const std::set<uint64_t>& nodeids) {
    std::map<uint64_t, ModelNode> all;
    for (uint64_t nodeid : nodeids) {
        Node* node = table.find(nodeid);
        if (node == nullptr) continue;
        uint64_t parent = node->parent == 0 ? 0 : table.at(node->parent)->nodeid;
        all[nodeid] = {node->nodeid, node->ino, parent, std::string(table.name(*node)), node->children};
    }
    return all;
}

}  // namespace

TEST_CASE("the node table keeps every node through growth, removal and reuse") {
    Memory memory;
    auto state = memory.attach();
    NodeTable table(state);
    std::mt19937 random(7);
    std::map<uint64_t, ModelNode> model;
    std::set<uint64_t> ever;
    uint64_t next_ino = 1 << 28;
    for (int step = 0; step < 30'000; ++step) {
        uint32_t kind = static_cast<uint32_t>(random() % 10);
        if (kind < 5 || model.empty()) {
            uint64_t ino = next_ino++;
            uint64_t wanted = random() % 3 == 0 ? random() % 5000 + 1 : 0;
            if (wanted != 0 && model.contains(wanted)) continue;
            Node* node = table.create(wanted, ino).take();
            if (wanted != 0) REQUIRE(node->nodeid == wanted);
            else REQUIRE_FALSE(ever.contains(node->nodeid));
            model[node->nodeid] = {node->nodeid, ino, 0, "", 0};
            ever.insert(node->nodeid);
        } else {
            auto chosen = std::next(model.begin(), static_cast<ptrdiff_t>(random() % std::min<size_t>(model.size(), 50)));
            Node* node = table.find(chosen->first);
            REQUIRE(node != nullptr);
            if (kind < 8) {
                if (chosen->second.children > 0) continue;
                if (chosen->second.parent != 0) model[chosen->second.parent].children--;
                table.remove(*node);
                model.erase(chosen);
            } else {
                auto parent = std::prev(model.end(), static_cast<ptrdiff_t>(random() % std::min<size_t>(model.size(), 20) + 1));
                if (parent->first == chosen->first) continue;
                std::string name(random() % 255 + 1, static_cast<char>('a' + random() % 26));
                REQUIRE(table.move(*node, table.find(parent->first), name).ok());
                if (chosen->second.parent != 0) model[chosen->second.parent].children--;
                chosen->second.parent = parent->first;
                chosen->second.name = name;
                parent->second.children++;
            }
        }
        state.commit();
        table.reclaim();
        REQUIRE(state.header().live_nodes == model.size());
        if (step % 1000 == 0) REQUIRE(snapshot(table, ever) == model);
    }
    CHECK(snapshot(table, ever) == model);
    for (const auto& [nodeid, node] : model) {
        REQUIRE(table.find_ino(node.ino) == table.find(nodeid));
        REQUIRE(table.at(table.slot_of(*table.find(nodeid))) == table.find(nodeid));
    }
}

TEST_CASE("a transaction on the node table that is cut short anywhere leaves no trace") {
    Memory memory;
    auto state = memory.attach();
    NodeTable table(state);
    std::mt19937 random(11);
    std::set<uint64_t> ever;
    std::vector<uint64_t> alive;
    uint64_t next_ino = 1 << 28;
    auto change = [&](NodeTable& in) {
        for (size_t i = 0, count = random() % 6 + 1; i < count; ++i) {
            size_t kind = random() % 4;
            if (kind < 2 || alive.size() < 3) {
                Node* node = in.create(0, next_ino++).take();
                REQUIRE(in.move(*node, nullptr, "name" + std::to_string(random() % 100)).ok());
                alive.push_back(node->nodeid);
                ever.insert(node->nodeid);
            } else {
                size_t at = random() % alive.size();
                Node* node = in.find(alive[at]);
                if (kind == 2 && node->children == 0) {
                    in.remove(*node);
                    alive.erase(alive.begin() + static_cast<ptrdiff_t>(at));
                } else {
                    REQUIRE(in.move(*node, nullptr, std::string(random() % 200 + 1, 'n')).ok());
                    if (random() % 2 == 0) REQUIRE(in.bury(*node, Tombstone{}).ok());
                }
            }
        }
    };
    for (int round = 0; round < 400; ++round) {
        change(table);
        state.commit();
        if (random() % 2 == 0) table.reclaim();
        auto before = snapshot(table, ever);
        auto alive_before = alive;
        uint32_t live_before = state.header().live_nodes;

        // Another worker starts, gets into a transaction and dies in it.
        auto dying = memory.attach();
        NodeTable dying_table(dying);
        change(dying_table);
        auto next = memory.attach();
        NodeTable next_table(next);
        REQUIRE(snapshot(next_table, ever) == before);
        REQUIRE(next.header().live_nodes == live_before);
        alive = alive_before;
    }
}
