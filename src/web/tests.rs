//! The web from outside: a real listener, real sockets, real cookies, a real store. The hosts' actors and the
//! remote are away: what would reach them is answered with 503, and that is all that these tests need to know.

mod account;
mod harness;
mod limits;
mod lines;
mod login;
mod matrix;
mod sockets;
