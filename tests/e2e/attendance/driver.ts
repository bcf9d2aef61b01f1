// Calls of the attendance side for test_attendance_side.py, which compiles this file beside handshake.service.ts.
//
// A line of input is [method, ...arguments], all strings; a line of output is {"value": …} or {"error": …}.
import { createInterface } from 'node:readline';
import { HandshakeError, HandshakeService } from './handshake.service';

const [baseUrl = '', token] = process.argv.slice(2);
const handshake = new HandshakeService({ baseUrl, token });

const calls: Record<string, (...given: string[]) => Promise<unknown>> = {
  performLoginHandshake: async (userId: string, businessId: string) => {
    const { user, business, source } = await handshake.performLoginHandshake(userId, businessId);
    return { user, business, source };
  },
  ensureUserExists: (userId: string) => handshake.ensureUserExists(userId),
  ensureBusinessExists: (businessId: string) => handshake.ensureBusinessExists(businessId),
  ensureUsersExist: (...userIds) => handshake.ensureUsersExist(userIds),
  checkUserExistsLocally: async (userId: string) => {
    const exists: boolean = await handshake.checkUserExistsLocally(userId);
    return exists;
  },
  updateUserSyncTimestamp: (userId: string) => handshake.updateUserSyncTimestamp(userId),
  getStaleUsers: (hours: string) => handshake.getStaleUsers(Number(hours)),
  refreshUser: (userId: string) => handshake.refreshUser(userId),
  setLocalAttributes: (id: string, departmentId: string, isFieldWorker: string) =>
    handshake.setLocalAttributes(id, { departmentId, isFieldWorker: isFieldWorker === 'true' }),
  eraseUser: (id: string) => handshake.eraseUser(id),
};

async function answer(line: string): Promise<unknown> {
  const [method = '', ...given] = JSON.parse(line) as string[];
  try {
    return { value: (await calls[method]?.(...given)) ?? null };
  } catch (error) {
    if (!(error instanceof HandshakeError)) {
      throw error;
    }
    return { error: { ...error, name: error.name, message: error.message, cause: error.cause ?? null } };
  }
}

async function main(): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await answer(line)));
  }
}

void main();
