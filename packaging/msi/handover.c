/* The installer's own step: leaves the join string where only the system, administrators and the service can read it.
 *
 * A step of a library, not of a program, as what a program is called with can be seen and is kept by auditing. The service
 * trades the string for an identity and deletes the file (agent/src/host/windows/joining.rs). */
#include <windows.h>
#include <msi.h>
#include <msiquery.h>
#include <sddl.h>

/* More than any join string with a collector's address. */
#define LONGEST 8192

static const WCHAR FINAL[] = L"C:\\ProgramData\\firstmile\\state\\join";
static const WCHAR DRAFT[] = L"C:\\ProgramData\\firstmile\\state\\join.tmp";

/* Nothing inherited: the system, administrators, LocalService. */
static const WCHAR ONLY_US[] = L"D:P(A;;FA;;;SY)(A;;FA;;;BA)(A;;FA;;;LS)";

static BOOL write_private(const char *text, DWORD length) {
  SECURITY_ATTRIBUTES who = {sizeof who, NULL, FALSE};
  DWORD written = 0;
  BOOL well = FALSE;
  HANDLE file;

  if (!ConvertStringSecurityDescriptorToSecurityDescriptorW(ONLY_US, SDDL_REVISION_1, &who.lpSecurityDescriptor, NULL))
    return FALSE;
  /* A file that is there would keep its own list of who may read it. */
  DeleteFileW(DRAFT);
  file = CreateFileW(DRAFT, GENERIC_WRITE, 0, &who, CREATE_NEW, FILE_ATTRIBUTE_NORMAL, NULL);
  if (file != INVALID_HANDLE_VALUE) {
    well = WriteFile(file, text, length, &written, NULL) && written == length;
    CloseHandle(file);
    well = well && MoveFileExW(DRAFT, FINAL, MOVEFILE_REPLACE_EXISTING);
    if (!well) DeleteFileW(DRAFT);
  }
  LocalFree(who.lpSecurityDescriptor);
  return well;
}

/* Its data: the join string and, after a space, the collector's address where it is another one. */
__declspec(dllexport) UINT __stdcall HandOver(MSIHANDLE install) {
  WCHAR data[LONGEST];
  char text[LONGEST];
  DWORD units = LONGEST;
  int bytes;
  BOOL well = FALSE;

  if (MsiGetPropertyW(install, L"CustomActionData", data, &units) == ERROR_SUCCESS) {
    bytes = WideCharToMultiByte(CP_UTF8, 0, data, (int)units, text, LONGEST, NULL, NULL);
    well = bytes > 0 && write_private(text, (DWORD)bytes);
  }
  SecureZeroMemory(data, sizeof data);
  SecureZeroMemory(text, sizeof text);
  return well ? ERROR_SUCCESS : ERROR_INSTALL_FAILURE;
}
