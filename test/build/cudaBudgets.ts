/**
 * Registers per thread that a kernel may take, by folder and kernel; `default` for all others. A block
 * of 256 threads fits twice on a multiprocessor up to 128 registers, four times up to 64.
 */
export const registerBudgets: Readonly<Record<string, number>> = {
  default: 128,
  "kernels/log_prob/row_kernel": 64,
  "kernels/log_prob/backward_kernel": 64,
  // Blocks of up to 1,024 threads, and 1,024 threads a multiprocessor.
  "kernels/token_loss/token_loss_kernel": 64,
  "gemm/gemm_kernel": 168,
  // A warp's 64 x 64 sums stay in registers; one block of 256 threads has the multiprocessor.
  "gemm/tensor_kernel": 255,
  "nn/adamw/adamw_kernel": 64,
  // A row, its gradient and its share of d weight in registers; 512 threads at most.
  "nn/rms_norm/rms_norm_kernel": 80,
  "nn/rms_norm/rms_norm_backward_kernel": 128,
  // Tiles of keys, values and gradients stay in registers; f32: about 168, three blocks
  // of 128 threads a multiprocessor. Tensor cores: blocks of 128 threads, two a multiprocessor.
  "nn/attention/attention_forward_kernel": 168,
  "nn/attention/attention_d_q_kernel": 184,
  "nn/attention/attention_dk_dv_kernel": 168,
  "nn/attention/attention_mma_forward_kernel": 255,
  "nn/attention/attention_mma_d_q_kernel": 232,
  "nn/attention/attention_mma_dk_dv_kernel": 255,
};

/** Folders whose kernels stream rows from memory: they must load 16 bytes at a time. */
export const rowKernels: readonly string[] = [
  "kernels/divergence",
  "kernels/gaussian",
  "kernels/log_prob",
  "kernels/token_loss",
  "nn/adamw",
  "nn/elementwise",
  "nn/rms_norm",
  "nn/swiglu",
];
