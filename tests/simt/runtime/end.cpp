// Linked behind the runtime and before the kernels: what lies beyond this is kernels' code.
extern "C" __attribute__((visibility("hidden"))) void simt_runtime_end() {}
