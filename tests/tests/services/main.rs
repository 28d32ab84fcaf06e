//! The services: their files, the NixOS modules, and the programs below the real systemd and the real
//! OpenRC; and what switches a NixOS machine.

mod files;
mod handbook;
mod nixos;
mod openrc;
mod switch;
mod systemd;
