// US_CHECK is for what we got wrong: always on, names the place, and aborts. What the world does wrong is a Result.
#pragma once

namespace understudy {

[[noreturn]] void check_failed(const char* condition, const char* file, int line, const char* function);

}  // namespace understudy

#define US_CHECK(condition)                                                                           \
  do {                                                                                                \
    if (!(condition)) [[unlikely]]                                                                    \
      ::understudy::check_failed(#condition, __FILE__, __LINE__, static_cast<const char*>(__func__)); \
  } while (false)
