#include "vmm/devices/serial/serial.h"

#include <algorithm>
#include <utility>

#include <linux/serial_reg.h>

#include "vmm/devices/saved_state.h"
#include "vmm/devices/serial/state.capnp.h"

namespace understudy {
namespace {

constexpr std::uint8_t kInterruptEnableMask = 0x0F;
constexpr std::uint8_t kModemControlMask = 0x1F;
constexpr std::uint8_t kFifoControlMask = UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_MASK;

}  // namespace

Serial::Serial(std::string id, InterruptLine interrupt, Sink sink)
    : id_{std::move(id)}, interrupt_{std::move(interrupt)}, sink_{std::move(sink)} {}

std::size_t Serial::receive(ConstBytes characters) {
  std::size_t taken = 0;
  bool raise = false;
  {
    const std::lock_guard lock{mutex_};
    // In loopback the receiver is cut off from the line: what comes then waits outside.
    if (quiesced_ || (registers_.modem_control & UART_MCR_LOOP) != 0) return 0;
    while (taken < characters.size() && push_input(static_cast<std::uint8_t>(characters[taken]))) ++taken;
    raise = std::exchange(raise_due_, false);
  }
  if (raise) interrupt_.raise();
  return taken;
}

void Serial::read(std::uint64_t offset, MutableBytes out) {
  // A wider access goes to neighbouring registers, as on the ISA bus.
  const std::lock_guard lock{mutex_};
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::byte>(read_register(offset + i));
}

void Serial::write(std::uint64_t offset, ConstBytes in) {
  for (std::size_t i = 0; i < in.size(); ++i) {
    bool send = false;
    bool raise = false;
    {
      const std::lock_guard lock{mutex_};
      send = write_register(offset + i, static_cast<std::uint8_t>(in[i]));
      raise = std::exchange(raise_due_, false);
    }
    if (send && sink_) sink_(in.subspan(i, 1));
    if (raise) interrupt_.raise();
  }
}

std::uint8_t Serial::interrupt_identification() const {
  const auto& r = registers_;
  std::uint8_t source = UART_IIR_NO_INT;
  if ((r.interrupt_enable & UART_IER_RLSI) != 0 && r.overrun) {
    source = UART_IIR_RLSI;
  } else if ((r.interrupt_enable & UART_IER_RDI) != 0 && r.input_count > 0) {
    source = UART_IIR_RDI;
  } else if ((r.interrupt_enable & UART_IER_THRI) != 0 && r.transmit_empty_pending) {
    source = UART_IIR_THRI;
  }
  const std::uint8_t fifo_bits = (r.fifo_control & UART_FCR_ENABLE_FIFO) != 0 ? 0xC0 : 0;
  return static_cast<std::uint8_t>(source | fifo_bits);
}

bool Serial::interrupt_pending() const { return (interrupt_identification() & UART_IIR_NO_INT) == 0; }

std::uint8_t Serial::modem_status() const {
  const std::uint8_t control = registers_.modem_control;
  if ((control & UART_MCR_LOOP) == 0) return UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS;
  // Loopback wires the outputs to the inputs: RTS-CTS, DTR-DSR, OUT1-RI, OUT2-DCD.
  std::uint8_t status = 0;
  if ((control & UART_MCR_RTS) != 0) status |= UART_MSR_CTS;
  if ((control & UART_MCR_DTR) != 0) status |= UART_MSR_DSR;
  if ((control & UART_MCR_OUT1) != 0) status |= UART_MSR_RI;
  if ((control & UART_MCR_OUT2) != 0) status |= UART_MSR_DCD;
  return status;
}

std::uint8_t Serial::read_register(std::uint64_t offset) {
  auto& r = registers_;
  const bool divisor_latch = (r.line_control & UART_LCR_DLAB) != 0;
  switch (offset) {
    case UART_RX: {
      if (divisor_latch) return static_cast<std::uint8_t>(r.divisor & 0xFF);
      if (r.input_count == 0) return 0;
      const std::uint8_t value = r.input[r.input_start];
      r.input_start = (r.input_start + 1) % kInputBytes;
      --r.input_count;
      return value;
    }
    case UART_IER:
      return divisor_latch ? static_cast<std::uint8_t>(r.divisor >> 8) : r.interrupt_enable;
    case UART_IIR: {
      const std::uint8_t value = interrupt_identification();
      // Reading it acknowledges the transmitter's interrupt, if that is the one it reports.
      if ((value & UART_IIR_ID) == UART_IIR_THRI && (value & UART_IIR_NO_INT) == 0) r.transmit_empty_pending = false;
      return value;
    }
    case UART_LCR:
      return r.line_control;
    case UART_MCR:
      return r.modem_control;
    case UART_LSR: {
      std::uint8_t value = UART_LSR_THRE | UART_LSR_TEMT;
      if (r.input_count > 0) value |= UART_LSR_DR;
      if (std::exchange(r.overrun, false)) value |= UART_LSR_OE;
      return value;
    }
    case UART_MSR:
      return modem_status();
    case UART_SCR:
      return r.scratch;
    default:
      return 0xFF;
  }
}

bool Serial::write_register(std::uint64_t offset, std::uint8_t value) {
  auto& r = registers_;
  const bool divisor_latch = (r.line_control & UART_LCR_DLAB) != 0;
  switch (offset) {
    case UART_TX:
      if (divisor_latch) {
        r.divisor = static_cast<std::uint16_t>((r.divisor & 0xFF00) | value);
        return false;
      }
      // It leaves at once, so the register is empty again, which is an interrupt of its own each time.
      r.transmit_empty_pending = true;
      raise_due_ = (r.interrupt_enable & UART_IER_THRI) != 0;
      if ((r.modem_control & UART_MCR_LOOP) == 0) return true;
      if (!push_input(value)) r.overrun = true;
      return false;
    case UART_IER: {
      if (divisor_latch) {
        r.divisor = static_cast<std::uint16_t>((r.divisor & 0x00FF) | (value << 8));
        return false;
      }
      const bool transmit_enabled = (value & ~r.interrupt_enable & UART_IER_THRI) != 0;
      r.interrupt_enable = value & kInterruptEnableMask;
      // Enabling it while the register is empty interrupts: drivers start sending so.
      if (transmit_enabled) r.transmit_empty_pending = true;
      raise_due_ = interrupt_pending();
      return false;
    }
    case UART_FCR:
      write_fifo_control(value);
      return false;
    case UART_LCR:
      r.line_control = value;
      return false;
    case UART_MCR:
      r.modem_control = value & kModemControlMask;
      return false;
    case UART_SCR:
      r.scratch = value;
      return false;
    default:
      return false;  // LSR and MSR are read-only
  }
}

void Serial::write_fifo_control(std::uint8_t value) {
  auto& r = registers_;
  const bool toggled = ((value ^ r.fifo_control) & UART_FCR_ENABLE_FIFO) != 0;
  if (toggled || (value & UART_FCR_CLEAR_RCVR) != 0) r.input_count = 0;
  r.fifo_control = (value & UART_FCR_ENABLE_FIFO) != 0 ? value & kFifoControlMask : std::uint8_t{0};
}

bool Serial::push_input(std::uint8_t value) {
  auto& r = registers_;
  if (r.input_count == kInputBytes) return false;
  r.input[(r.input_start + r.input_count) % kInputBytes] = value;
  ++r.input_count;
  raise_due_ = raise_due_ || (r.interrupt_enable & UART_IER_RDI) != 0;
  return true;
}

Result<void> Serial::quiesce() {
  const std::lock_guard lock{mutex_};
  quiesced_ = true;
  return {};
}

void Serial::resume() {
  bool raise = false;
  {
    const std::lock_guard lock{mutex_};
    quiesced_ = false;
    raise = interrupt_pending();
  }
  // An edge that was on its way when the state was saved is in nobody's state: send it again.
  if (raise) interrupt_.raise();
}

void Serial::save(schema::DeviceState::Builder out) const {
  const std::lock_guard lock{mutex_};
  const auto& r = registers_;
  out.setId(id_);
  out.setVersion(kStateVersion);
  auto state = out.getState().initAs<schema::SerialState>();
  state.setInterruptEnable(r.interrupt_enable);
  state.setFifoControl(r.fifo_control);
  state.setLineControl(r.line_control);
  state.setModemControl(r.modem_control);
  state.setScratch(r.scratch);
  state.setDivisor(r.divisor);
  state.setTransmitEmptyPending(r.transmit_empty_pending);
  state.setOverrun(r.overrun);
  auto input = state.initInput(static_cast<unsigned>(r.input_count));
  for (std::size_t i = 0; i < r.input_count; ++i) input[i] = r.input[(r.input_start + i) % kInputBytes];
}

Result<Serial::Registers> Serial::parse(schema::DeviceState::Reader in, std::string_view id) {
  return parse_saved_state(in, id, kStateVersion, [&]() -> Result<Registers> {
    const auto state = in.getState().getAs<schema::SerialState>();
    const auto input = state.getInput();
    if (input.size() > kInputBytes)
      return Error{ErrorCode::kCorrupt,
                   "its input of " + std::to_string(input.size()) + " bytes exceeds the buffer of " + std::to_string(kInputBytes)};
    if ((state.getInterruptEnable() & ~kInterruptEnableMask) != 0 || (state.getModemControl() & ~kModemControlMask) != 0 ||
        (state.getFifoControl() & ~kFifoControlMask) != 0)
      return Error{ErrorCode::kCorrupt, "it has register bits that a 16550A does not"};
    Registers r;
    r.interrupt_enable = state.getInterruptEnable();
    r.fifo_control = state.getFifoControl();
    r.line_control = state.getLineControl();
    r.modem_control = state.getModemControl();
    r.scratch = state.getScratch();
    r.divisor = state.getDivisor();
    r.transmit_empty_pending = state.getTransmitEmptyPending();
    r.overrun = state.getOverrun();
    std::ranges::copy(input, r.input.begin());
    r.input_count = input.size();
    return r;
  });
}

Result<void> Serial::check(schema::DeviceState::Reader in) const {
  US_TRY(parse(in, id_));
  return {};
}

Result<void> Serial::restore(schema::DeviceState::Reader in) {
  US_ASSIGN(const Registers registers, parse(in, id_));
  const std::lock_guard lock{mutex_};
  US_CHECK(quiesced_);
  registers_ = registers;
  return {};
}

}  // namespace understudy
