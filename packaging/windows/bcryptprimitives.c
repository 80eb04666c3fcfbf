/* For tests under wine 8 only, which lacks this library and which Rust's std imports. Never shipped: Windows has its own. */
#include <windows.h>

BOOLEAN NTAPI SystemFunction036(PVOID, ULONG); /* RtlGenRandom */

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE bytes, SIZE_T count) {
  while (count) {
    ULONG step = count > 0x1000000 ? 0x1000000 : (ULONG)count;
    if (!SystemFunction036(bytes, step)) return FALSE;
    bytes += step;
    count -= step;
  }
  return TRUE;
}
