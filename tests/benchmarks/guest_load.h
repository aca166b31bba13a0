// The guest's load: one word written in each page of a working set, in turn, with some work between, at full speed; and every gap in its
// own time recorded, which is how a pause feels from within. load_page.h says how it is told what to do.
#pragma once

namespace understudy::bench {

// Goes on for ever, on a thread of its own that gives way to every other. The reason, when it could not be started; else null.
const char* start_load();

}  // namespace understudy::bench
