//! Too much, too fast, too big, and nonsense: commands that flood, agents and tabs that misbehave. Nothing is lost
//! that is not marked, memory stays flat, and neighbours do not notice.

mod agents;
mod output;
mod tabs;
