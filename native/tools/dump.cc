#include "tools/dump.h"

#include <fcntl.h>
#include <unistd.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/failure.h"
#include "base/output.h"
#include "tree/tree_image.h"

namespace templatefs {
namespace {

// Bytes outside 0x21-0x7e, and those that separate fields, as %XX.
void put_escaped(Output& out, std::string_view text) {
    constexpr char digits[] = "0123456789ABCDEF";
    for (char c : text) {
        auto byte = static_cast<unsigned char>(c);
        if (byte >= 0x21 && byte <= 0x7e && c != '%' && c != ',' && c != '=') {
            out.put(c);
        } else {
            out.put('%');
            out.put(digits[byte >> 4]);
            out.put(digits[byte & 15]);
        }
    }
}

class Dumper {
public:
    Dumper(const TreeImage& tree, Output& out) : tree_(tree), out_(out), entered_(tree.node_count()) {}

    Result<void> run() {
        TRY(tree_.check_all_pages());
        TreeNode root = TRY(tree_.node(0));
        TRY(put_line("/", 0, root));
        folders_.push_back({0, root, 0, 0});
        while (!folders_.empty()) TRY(step());
        return out_.flush();
    }

private:
    struct OpenFolder {
        NodeIndex index;
        TreeNode node;
        uint32_t next;
        size_t path_length;
    };

    // Takes the next entry of the innermost folder, or leaves that folder.
    Result<void> step() {
        OpenFolder& folder = folders_.back();
        path_.resize(folder.path_length);
        if (folder.next == folder.node.data_b) {
            folders_.pop_back();
            return {};
        }
        uint32_t position = folder.next++;
        std::string_view name;
        TreeImage::Child child = TRY(tree_.child_at(folder.index, folder.node, position, &name));
        if (position > 0) {
            TreeEntry before = TRY(tree_.entry(folder.node, position - 1));
            if (before.name >= name) return Errno(EUCLEAN);
        }
        path_ += '/';
        path_ += name;
        TRY(put_line(path_, child.index, child.node));
        if (child.node.is_dir()) {
            if (entered_[child.index]) return Errno(EUCLEAN);
            entered_[child.index] = true;
            folders_.push_back({child.index, child.node, 0, path_.size()});
        }
        return {};
    }

    Result<void> put_line(std::string_view path, NodeIndex index, const TreeNode& node) {
        put_escaped(out_, path);
        out_.put(' ');
        out_.put_octal(node.mode);
        for (uint64_t number : {uint64_t{node.uid}, uint64_t{node.gid}, uint64_t{node.nlink}, node.size, node.blocks}) {
            out_.put(' ');
            out_.put_unsigned(number);
        }
        out_.put(' ');
        out_.put_decimal(node.mtime_sec);
        out_.put('.');
        out_.put_padded(node.mtime_nsec, 9);
        out_.put(' ');
        out_.put_unsigned(node.rdev);
        out_.put(' ');
        out_.put_unsigned(uint64_t{index} + 1);
        out_.put(' ');
        TRY(put_type_data(node));
        out_.put(' ');
        TRY(put_xattrs(node));
        out_.put('\n');
        return {};
    }

    Result<void> put_type_data(const TreeNode& node) {
        if (node.is_symlink()) {
            out_.put("target=");
            put_escaped(out_, TRY(tree_.symlink_target(node)));
        } else if (!node.is_regular()) {
            out_.put('-');
        } else if (auto object = tree_.object(node); object.ok()) {
            const ObjectRef& ref = object.value();
            out_.put("object=");
            out_.put_hex({reinterpret_cast<const char*>(ref.hash.data()), ref.hash.size()});
            if (ref.variant != 0) {
                out_.put('.');
                out_.put_unsigned(ref.variant);
            }
        } else if (object.error_code() == ENODATA) {
            out_.put("empty");
        } else {
            return object.error();
        }
        return {};
    }

    Result<void> put_xattrs(const TreeNode& node) {
        if (node.xattrs == 0) {
            out_.put('-');
            return {};
        }
        bool first = true;
        return tree_.for_each_xattr(node, [&](XattrView xattr) {
            if (!first) out_.put(',');
            first = false;
            put_escaped(out_, xattr.name);
            out_.put('=');
            out_.put_hex(xattr.value);
            return true;
        });
    }

    const TreeImage& tree_;
    Output& out_;
    std::vector<bool> entered_;
    std::vector<OpenFolder> folders_;
    std::string path_;
};

}  // namespace

int run_dump(int argc, char** argv) {
    if (argc != 1) return fail(kExitUsage, "USAGE", "dump takes one tree image: templatefs-engine dump TREE");
    auto tree = TreeImage::open(AT_FDCWD, argv[0]);
    if (!tree.ok()) {
        if (tree.error_code() == EUCLEAN) return fail(kExitIntegrity, "BAD_TREE", "%s is no sound tree image", argv[0]);
        return fail(kExitFailed, "IO_ERROR", "cannot open %s: %s", argv[0], errno_text(tree.error()));
    }
    Output out(STDOUT_FILENO);
    auto dumped = Dumper(tree.value(), out).run();
    if (dumped.ok()) return kExitOk;
    if (dumped.error_code() == EUCLEAN) {
        // What stands in the buffer is sound as far as it goes and shows where the fault lies.
        (void)out.flush().ok();
        return fail(kExitIntegrity, "BAD_TREE", "%s: %s", argv[0], errno_text(dumped.error()));
    }
    return fail(kExitFailed, "IO_ERROR", "cannot write the dump of %s: %s", argv[0], errno_text(dumped.error()));
}

}  // namespace templatefs
