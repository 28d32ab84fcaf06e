//! The services: their files, the NixOS modules, the programs run by the real systemd and the real OpenRC,
//! and the program that switches NixOS machines.

mod files;
mod handbook;
mod nixos;
mod openrc;
mod switch;
mod systemd;
