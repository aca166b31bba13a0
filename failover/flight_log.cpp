#include "failover/flight_log.h"

#include <algorithm>
#include <cstring>

#include <lz4.h>

#include "net/payload.h"

namespace understudy {

namespace {

Error damaged(const std::string& what) { return {ErrorCode::kCorrupt, what}; }

std::string text_from(capnp::Text::Reader text) { return {text.cStr(), std::min(text.size(), kMaxFlightText)}; }

capnp::Text::Reader text_to(const std::string& text) { return {text.c_str(), text.size()}; }

std::vector<std::byte> pack(std::span<const std::byte> body) {
  std::vector<std::byte> packed(static_cast<std::size_t>(LZ4_compressBound(static_cast<int>(body.size()))));
  const int size = LZ4_compress_default(reinterpret_cast<const char*>(body.data()), reinterpret_cast<char*>(packed.data()),
                                        static_cast<int>(body.size()), static_cast<int>(packed.size()));
  packed.resize(static_cast<std::size_t>(size));
  return packed;
}

Result<FlightChunk> read(schema::FlightChunk::Reader in) {
  FlightChunk out;
  out.serial = in.getSerial();
  out.version = text_from(in.getVersion());
  out.decisions = text_from(in.getDecisions());
  out.started_at = Instant{Duration{in.getStartMonotonicNs()}};
  out.started_realtime_ns = in.getStartRealtimeNs();
  out.missing = in.getMissing();
  out.step_count = in.getSteps();
  const std::uint32_t body_bytes = in.getBodyBytes();
  const std::uint32_t image_bytes = in.getImageBytes();
  if (body_bytes > kMaxFlightBody)
    return damaged("a body of " + std::to_string(body_bytes) + " bytes, expected at most " + std::to_string(kMaxFlightBody));
  if (image_bytes > body_bytes) return damaged("an image larger than the body");
  const auto packed = in.getBody();
  std::vector<std::byte> body(body_bytes);
  const int got = LZ4_decompress_safe(reinterpret_cast<const char*>(packed.begin()), reinterpret_cast<char*>(body.data()),
                                      static_cast<int>(packed.size()), static_cast<int>(body.size()));
  if (got < 0 || static_cast<std::uint32_t>(got) != body_bytes) return damaged("its body does not unpack");
  out.image.assign(body.begin(), body.begin() + image_bytes);
  out.steps.assign(body.begin() + image_bytes, body.end());
  return out;
}

}  // namespace

std::vector<std::byte> encode_flight_chunk(const FlightChunk& chunk) {
  std::vector<std::byte> body = chunk.image;
  body.insert(body.end(), chunk.steps.begin(), chunk.steps.end());
  const auto packed = pack(body);
  return build_payload<schema::FlightChunk>([&](schema::FlightChunk::Builder out) {
    out.setSerial(chunk.serial);
    out.setVersion(text_to(chunk.version));
    out.setDecisions(text_to(chunk.decisions));
    out.setStartMonotonicNs(to_ns(chunk.started_at));
    out.setStartRealtimeNs(chunk.started_realtime_ns);
    out.setMissing(chunk.missing);
    out.setSteps(chunk.step_count);
    out.setBodyBytes(static_cast<std::uint32_t>(body.size()));
    out.setImageBytes(static_cast<std::uint32_t>(chunk.image.size()));
    out.setBody({reinterpret_cast<const capnp::byte*>(packed.data()), packed.size()});
  });
}

std::vector<std::byte> encode_flight_event(const FlightEvent& event) {
  return build_payload<schema::FlightEvent>([&](schema::FlightEvent::Builder out) { write_flight_event(event, out); });
}

void write_flight_event(const FlightEvent& event, schema::FlightEvent::Builder out) {
  out.setSerial(event.serial);
  out.setMonotonicNs(to_ns(event.at));
  out.setRealtimeNs(event.realtime_ns);
  out.setTerm(event.term.raw());
  out.setRole(text_to(event.role));
  out.setSeverity(static_cast<std::uint8_t>(event.severity));
  out.setKind(text_to(event.kind));
  out.setText(text_to(event.text));
}

Result<FlightEvent> read_flight_event(schema::FlightEvent::Reader in) {
  if (in.getSeverity() > static_cast<std::uint8_t>(Severity::kError)) return damaged("severity " + std::to_string(in.getSeverity()));
  return FlightEvent{.serial = in.getSerial(),
                     .at = Instant{Duration{in.getMonotonicNs()}},
                     .realtime_ns = in.getRealtimeNs(),
                     .term = Term{in.getTerm()},
                     .role = text_from(in.getRole()),
                     .severity = static_cast<Severity>(in.getSeverity()),
                     .kind = text_from(in.getKind()),
                     .text = text_from(in.getText())};
}

Result<FlightChunk> decode_flight_chunk(std::span<const std::byte> bytes) {
  auto chunk = read_payload<schema::FlightChunk>(bytes, [](schema::FlightChunk::Reader in) { return read(in); });
  if (!chunk) return std::move(chunk.error()).within("flight recorder's chunk");
  return chunk;
}

Result<FlightEvent> decode_flight_event(std::span<const std::byte> bytes) {
  auto event = read_payload<schema::FlightEvent>(bytes, [](schema::FlightEvent::Reader in) { return read_flight_event(in); });
  if (!event) return std::move(event.error()).within("flight recorder's event");
  return event;
}

const char* decisions_fingerprint() { return UNDERSTUDY_DECISIONS; }

}  // namespace understudy
