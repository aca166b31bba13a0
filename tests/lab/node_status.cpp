#include "tests/lab/node_status.h"

#include <algorithm>
#include <optional>

#include <capnp/compat/json.h>
#include <capnp/message.h>
#include <kj/exception.h>

namespace understudy::lab {

namespace {

using capnp::JsonValue;

// Reads the fields of one JSON object; the first that is missing or of another type is remembered, and the values are zero from there.
class Fields {
 public:
  Fields(JsonValue::Reader object, std::string& wrong) : object_{object}, wrong_{wrong} {
    if (object.which() != JsonValue::OBJECT) complain("the object");
  }

  std::string text(std::string_view name) {
    const auto value = find(name, JsonValue::STRING);
    if (!value) return {};
    const auto text = value->getString();
    return {text.begin(), text.size()};
  }
  std::uint64_t number(std::string_view name) {
    const auto value = find(name, JsonValue::NUMBER);
    if (!value) return 0;
    if (value->getNumber() < 0 || value->getNumber() >= 0x1p64) {
      complain(name);
      return 0;
    }
    return static_cast<std::uint64_t>(value->getNumber());
  }
  Instant instant(std::string_view name) { return Instant{Duration{static_cast<std::int64_t>(number(name))}}; }
  bool flag(std::string_view name) {
    const auto value = find(name, JsonValue::BOOLEAN);
    return value && value->getBoolean();
  }
  std::optional<JsonValue::Reader> object(std::string_view name) { return find(name, JsonValue::OBJECT); }
  std::optional<JsonValue::Reader> array(std::string_view name) { return find(name, JsonValue::ARRAY); }

 private:
  std::optional<JsonValue::Reader> find(std::string_view name, JsonValue::Which kind) {
    if (object_.which() == JsonValue::OBJECT) {
      for (const auto field : object_.getObject()) {
        const auto found = field.getName();
        if (std::string_view{found.begin(), found.size()} == name && field.getValue().which() == kind) return field.getValue();
      }
    }
    complain(name);
    return std::nullopt;
  }
  void complain(std::string_view name) {
    if (wrong_.empty()) wrong_ = name;
  }

  JsonValue::Reader object_;
  std::string& wrong_;
};

NodeStatus read(JsonValue::Reader root, std::string& wrong) {
  Fields fields{root, wrong};
  NodeStatus status;
  status.role = fields.text("role");
  status.mode = fields.text("mode");
  status.reason = fields.text("reason");
  status.peer_verdict = fields.text("peerVerdict");
  status.guest = fields.text("guest");
  status.ended = fields.text("ended");
  status.term = Term{fields.number("term")};
  status.committed_epoch = Epoch{fields.number("committedEpoch")};
  status.is_protected = fields.flag("protected");
  if (const auto last = fields.object("last")) {
    Fields numbers{*last, wrong};
    status.pause_median_us = numbers.number("pauseMedianUs");
    status.pause_p99_us = numbers.number("pauseP99Us");
    status.dirty_pages = numbers.number("dirtyPages");
    status.ack_us = numbers.number("ackUs");
  }
  if (const auto transfer = fields.object("transfer")) {
    Fields numbers{*transfer, wrong};
    status.transfer_kind = numbers.text("kind");
    status.transfer_sent_bytes = numbers.number("sentBytes");
  }
  if (const auto links = fields.object("links")) {
    Fields numbers{*links, wrong};
    status.links_refused = numbers.number("refused");
    status.links_last_refused = numbers.text("lastRefused");
  }
  if (const auto timeline = fields.array("timeline")) {
    for (const auto element : timeline->getArray()) {
      Fields moment{element, wrong};
      status.timeline.push_back({.name = moment.text("name"),
                                 .at = moment.instant("monotonicNs"),
                                 .term = Term{moment.number("term")},
                                 .text = moment.text("text")});
    }
  }
  return status;
}

// Parses one JSON text and lets `read` have it.
template <class Read>
Result<void> parse(std::string_view what, std::string_view json, Read read) {
  std::string wrong;
  const auto thrown = kj::runCatchingExceptions([&] {
    capnp::MallocMessageBuilder message;
    const auto root = message.initRoot<JsonValue>();
    capnp::JsonCodec{}.decodeRaw(kj::arrayPtr(json.data(), json.size()), root);
    read(root.asReader(), wrong);
  });
  KJ_IF_MAYBE (exception, thrown)
    return Error{ErrorCode::kCorrupt, std::string{what} + " is not JSON: " + exception->getDescription().cStr()};
  if (!wrong.empty()) return Error{ErrorCode::kCorrupt, std::string{what} + ": \"" + wrong + "\" is missing or of another type"};
  return {};
}

// An object a line.
template <class Line, class Read>
Result<std::vector<Line>> parse_lines(std::string_view what, std::string_view json_lines, Read read) {
  std::vector<Line> lines;
  while (!json_lines.empty()) {
    const auto line = json_lines.substr(0, json_lines.find('\n'));
    json_lines.remove_prefix(std::min(line.size() + 1, json_lines.size()));
    US_TRY(parse(what, line, [&](JsonValue::Reader root, std::string& wrong) {
      Fields fields{root, wrong};
      lines.push_back(read(fields));
    }));
  }
  return lines;
}

}  // namespace

Result<NodeStatus> parse_node_status(std::string_view json) {
  NodeStatus status;
  US_TRY(parse("status", json, [&](JsonValue::Reader root, std::string& wrong) { status = read(root, wrong); }));
  return status;
}

Result<std::vector<NodeEvent>> parse_node_events(std::string_view json_lines) {
  return parse_lines<NodeEvent>("event", json_lines, [](Fields& fields) {
    return NodeEvent{.at = fields.instant("monotonicNs"), .kind = fields.text("kind"), .text = fields.text("text")};
  });
}

Result<std::vector<NodeEpoch>> parse_node_epochs(std::string_view json_lines) {
  return parse_lines<NodeEpoch>("epoch", json_lines, [](Fields& fields) {
    return NodeEpoch{.epoch = Epoch{fields.number("epoch")},
                     .pause_us = fields.number("pauseUs"),
                     .dirty_pages = fields.number("dirtyPages"),
                     .sent_bytes = fields.number("sentBytes"),
                     .ack_us = fields.number("ackUs")};
  });
}

}  // namespace understudy::lab
